"""The one exception of this package.

Owns: what is wrong with a certificate or a key, in words. Must never know where it is shown.
"""

from dkv.errors import Code, Ending, Misconfigured


class CertificateError(Misconfigured):
    """`code` is what a client is told: CERTIFICATE_REFUSED or CERTIFICATE_EXPIRED."""

    ending = Ending.CERTIFICATE

    def __init__(self, words: str, code: Code = Code.CERTIFICATE_REFUSED) -> None:
        super().__init__(words)
        self.code = code
