#include "line_buffer.h"

namespace bootseal::agent {

std::optional<LineBuffer::Line> LineBuffer::next() {
  const std::size_t end = pending_.find('\n');
  if (end == std::string::npos) {
    if (pending_.size() > maximum_) skipping_ = true;
    if (skipping_) pending_.clear();
    return std::nullopt;
  }
  Line line{.text = {}, .too_long = skipping_ || end > maximum_};
  if (!line.too_long) line.text = pending_.substr(0, end);
  pending_.erase(0, end + 1);
  skipping_ = false;
  return line;
}

void LineBuffer::clear() {
  pending_.clear();
  skipping_ = false;
}

}  // namespace bootseal::agent
