// As much JSON as the driver's lines need: flat objects of strings, whole numbers and booleans.
//
// Belongs to the test programs, not to the library.
#pragma once

#include <charconv>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>

namespace json {

using Value = std::variant<std::nullptr_t, bool, std::int64_t, std::string>;
using Object = std::map<std::string, Value>;

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Object object() {
    Object object;
    expect('{');
    if (take('}')) return object;
    do {
      auto name = string();
      expect(':');
      object[name] = value();
    } while (take(','));
    expect('}');
    return object;
  }

 private:
  void space() {
    while (!text_.empty() && std::string_view(" \t\r\n").find(text_[0]) != std::string_view::npos)
      text_.remove_prefix(1);
  }
  bool take(char wanted) {
    space();
    if (text_.empty() || text_[0] != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) throw std::runtime_error(std::string("JSON: expected ") + wanted);
  }
  bool word(std::string_view wanted) {
    if (!text_.starts_with(wanted)) return false;
    text_.remove_prefix(wanted.size());
    return true;
  }
  std::string string() {
    expect('"');
    std::string out;
    while (!text_.empty() && text_[0] != '"') {
      if (text_[0] == '\\') text_.remove_prefix(1);  // hex and names need no other escape
      if (text_.empty()) break;
      out += text_[0];
      text_.remove_prefix(1);
    }
    expect('"');
    return out;
  }
  Value value() {
    space();
    if (!text_.empty() && text_[0] == '"') return string();
    if (word("true")) return true;
    if (word("false")) return false;
    if (word("null")) return nullptr;
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), number);
    if (error != std::errc()) throw std::runtime_error("JSON: expected a value");
    text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
    return number;
  }

  std::string_view text_;
};

inline std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

}  // namespace json
