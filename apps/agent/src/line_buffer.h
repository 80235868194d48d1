// Lines out of a stream of bytes, none of them longer than a limit.
#pragma once

#include <optional>
#include <string>

#include "bootseal/base/bytes.h"

namespace bootseal::agent {

class LineBuffer {
 public:
  explicit LineBuffer(std::size_t maximum) : maximum_(maximum) {}

  struct Line {
    std::string text;       // without the new line
    bool too_long = false;  // then `text` is empty; the bytes up to the new line were thrown away
  };

  void feed(ByteSpan bytes) { pending_ += as_text(bytes); }
  // The next whole line; nullopt when more bytes are needed. Call until nullopt after each feed(), so that at
  // most `maximum` bytes and those of one feed() are kept.
  std::optional<Line> next();
  // Forgets what is there: the other end is a new one.
  void clear();

 private:
  std::size_t maximum_;
  std::string pending_;
  bool skipping_ = false;
};

}  // namespace bootseal::agent
