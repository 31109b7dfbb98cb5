"""The clients in other languages, tried from outside: `make bindings` and `make test-long`."""
