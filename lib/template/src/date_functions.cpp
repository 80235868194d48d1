// utcNow, dateTimeAdd, dateTimeFromEpoch, dateTimeToEpoch, with .NET's format strings (invariant culture).
#include <array>
#include <charconv>
#include <optional>

#include "functions.h"

namespace bootseal::templates {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::year_month_day;

constexpr std::string_view kDefaultFormat = "yyyyMMddTHHmmssZ";
constexpr std::string_view kRoundTrip = "yyyy-MM-ddTHH:mm:ssZ";
constexpr std::array<std::string_view, 12> kMonths{"January",   "February", "March",    "April",
                                                   "May",       "June",     "July",     "August",
                                                   "September", "October",  "November", "December"};
constexpr std::array<std::string_view, 7> kDays{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                "Thursday", "Friday", "Saturday"};

struct Moment {
  TimePoint time;
  year_month_day date;
  std::chrono::hh_mm_ss<microseconds> clock;

  explicit Moment(TimePoint at)
      : time(at), date(std::chrono::floor<days>(at)), clock(at - std::chrono::floor<days>(at)) {}
  [[nodiscard]] unsigned weekday() const {
    return std::chrono::weekday(std::chrono::floor<days>(time)).c_encoding();
  }
};

std::string token(const Moment& moment, char letter, std::size_t count) {
  const auto number = [count](auto value) { return fmt::format("{:0{}}", value, count > 1 ? 2 : 1); };
  const auto month = static_cast<unsigned>(moment.date.month());
  const auto hour = moment.clock.hours().count();
  switch (letter) {
    case 'y': {
      const int year = static_cast<int>(moment.date.year());
      return count > 2 ? fmt::format("{:0{}}", year, count) : number(year % 100);
    }
    case 'M':
      if (count > 2) return std::string(count == 3 ? kMonths[month - 1].substr(0, 3) : kMonths[month - 1]);
      return number(month);
    case 'd':
      if (count > 2)
        return std::string(count == 3 ? kDays[moment.weekday()].substr(0, 3) : kDays[moment.weekday()]);
      return number(static_cast<unsigned>(moment.date.day()));
    case 'H':
      return number(hour);
    case 'h':
      return number((hour + 11) % 12 + 1);
    case 'm':
      return number(moment.clock.minutes().count());
    case 's':
      return number(moment.clock.seconds().count());
    case 't':
      return std::string(hour < 12 ? "AM" : "PM").substr(0, count > 1 ? 2 : 1);
    case 'z':
      return count > 2 ? "+00:00" : count == 2 ? "+00" : "+0";
    case 'K':
      return "Z";
    default:  // f, F: ten millionths at most
      return fmt::format("{:07}", moment.clock.subseconds().count() * 10).substr(0, count);
  }
}

// What a standard (one letter) format stands for; empty = none.
std::string_view standard_format(char letter) {
  switch (letter) {
    case 'd':
      return "MM/dd/yyyy";
    case 'D':
      return "dddd, dd MMMM yyyy";
    case 'f':
      return "dddd, dd MMMM yyyy HH:mm";
    case 'F':
      return "dddd, dd MMMM yyyy HH:mm:ss";
    case 'g':
      return "MM/dd/yyyy HH:mm";
    case 'G':
      return "MM/dd/yyyy HH:mm:ss";
    case 'm':
    case 'M':
      return "MMMM dd";
    case 'o':
    case 'O':
      return "yyyy-MM-ddTHH:mm:ss.fffffffK";
    case 'r':
    case 'R':
      return "ddd, dd MMM yyyy HH:mm:ss 'GMT'";
    case 's':
      return "yyyy-MM-ddTHH:mm:ss";
    case 't':
      return "HH:mm";
    case 'T':
      return "HH:mm:ss";
    case 'u':
      return "yyyy-MM-dd HH:mm:ssZ";
    case 'y':
    case 'Y':
      return "yyyy MMMM";
    default:
      return {};
  }
}

Outcome shown(const Call& call, TimePoint time, std::string_view format) {
  if (format.size() == 1) {
    const std::string_view standard = standard_format(format.front());
    if (standard.empty()) return call.refuse(fmt::format("the date format '{}' is not known.", format));
    format = standard;
  }
  if (format.size() > 256) return call.refuse("the date format is longer than 256 characters.");
  const Moment moment(time);
  std::string result;
  for (std::size_t at = 0; at < format.size();) {
    const char c = format[at];
    if (c == '\'' || c == '"') {
      const std::size_t end = format.find(c, at + 1);
      if (end == std::string_view::npos) return call.refuse("the date format has a quote that never ends.");
      result += format.substr(at + 1, end - at - 1);
      at = end + 1;
    } else if (c == '\\' && at + 1 < format.size()) {
      result += format[at + 1];
      at += 2;
    } else if (c == '%') {
      ++at;
    } else if (std::string_view("yMdHhmstzKfF").find(c) != std::string_view::npos) {
      const std::size_t end = std::min(format.find_first_not_of(c, at), format.size());
      if (end - at > 7)
        return call.refuse(fmt::format("the date format '{}' is not known.", format.substr(at, end - at)));
      result += token(moment, c, end - at);
      at = end;
    } else {
      result += c;
      ++at;
    }
  }
  return to_value(result);
}

class Digits {
 public:
  explicit Digits(std::string_view text) : rest_(text) {}
  // Exactly `count` digits.
  std::optional<std::int64_t> take(std::size_t count) {
    if (rest_.size() < count) return std::nullopt;
    std::int64_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (rest_[i] < '0' || rest_[i] > '9') return std::nullopt;
      value = value * 10 + (rest_[i] - '0');
    }
    rest_.remove_prefix(count);
    return value;
  }
  bool take_any(std::string_view letters) {
    if (rest_.empty() || letters.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  [[nodiscard]] bool ended() const { return rest_.empty(); }
  [[nodiscard]] bool next_is_digit() const {
    return !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9';
  }

 private:
  std::string_view rest_;
};

// 2020-04-07T14:53:14Z, 2020-04-07 14:53:14Z, 20200407T145314Z, a fraction, an offset, a date alone.
std::optional<TimePoint> parse_moment(std::string_view text) {
  Digits digits(text);
  const auto year = digits.take(4);
  digits.take_any("-");
  const auto month = digits.take(2);
  digits.take_any("-");
  const auto day = digits.take(2);
  if (!year || !month || !day) return std::nullopt;
  const year_month_day date{std::chrono::year(static_cast<int>(*year)),
                            std::chrono::month(static_cast<unsigned>(*month)),
                            std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  TimePoint time = std::chrono::sys_days(date);
  if (digits.ended()) return time;
  if (!digits.take_any("T ")) return std::nullopt;
  const auto hour = digits.take(2);
  digits.take_any(":");
  const auto minute = digits.take(2);
  digits.take_any(":");
  const auto second = digits.take(2);
  if (!hour || !minute || !second || *hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
  time += hours(*hour) + minutes(*minute) + seconds(*second);
  if (digits.take_any(".")) {
    std::int64_t unit = 1'000'000;
    while (digits.next_is_digit()) {
      unit /= 10;
      time += microseconds(*digits.take(1) * unit);
    }
  }
  if (digits.take_any("Z") || digits.ended()) return digits.ended() ? std::optional(time) : std::nullopt;
  const bool west = digits.take_any("-");
  if (!west && !digits.take_any("+")) return std::nullopt;
  const auto offset_hours = digits.take(2);
  digits.take_any(":");
  const auto offset_minutes = digits.take(2);
  if (!offset_hours || !offset_minutes || !digits.ended()) return std::nullopt;
  const auto offset = hours(*offset_hours) + minutes(*offset_minutes);
  return west ? time + offset : time - offset;
}

struct Duration {
  bool negative = false;
  std::int64_t months = 0;
  std::int64_t seconds = 0;
};

// ISO 8601: P1Y2M3DT4H5M6S, P2W, a sign before it.
std::optional<Duration> parse_duration(std::string_view text) {
  Duration result;
  if (text.starts_with('-')) {
    result.negative = true;
    text.remove_prefix(1);
  }
  if (!text.starts_with('P') || text.size() < 3) return std::nullopt;
  text.remove_prefix(1);
  bool time = false;
  while (!text.empty()) {
    if (text.front() == 'T' && !time) {
      time = true;
      text.remove_prefix(1);
      if (text.empty()) return std::nullopt;
      continue;
    }
    std::int64_t count = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc() || stop == text.data() + text.size() || count < 0 || count > 1'000'000'000)
      return std::nullopt;
    const char unit = *stop;
    text.remove_prefix(static_cast<std::size_t>(stop - text.data()) + 1);
    if (!time && unit == 'Y') {
      result.months += count * 12;
    } else if (!time && unit == 'M') {
      result.months += count;
    } else if (!time && (unit == 'W' || unit == 'D')) {
      result.seconds += count * (unit == 'W' ? 7 : 1) * 86'400;
    } else if (time && (unit == 'H' || unit == 'M' || unit == 'S')) {
      result.seconds += count * (unit == 'H' ? 3600 : unit == 'M' ? 60 : 1);
    } else {
      return std::nullopt;
    }
  }
  return result;
}

constexpr TimePoint kFirst = std::chrono::sys_days(std::chrono::year(1) / 1 / 1);
constexpr TimePoint kLast = std::chrono::sys_days(std::chrono::year(9999) / 12 / 31);

std::optional<TimePoint> add(TimePoint time, const Duration& duration) {
  const std::int64_t sign = duration.negative ? -1 : 1;
  constexpr std::int64_t kMost = 12 * 10'000;
  if (duration.months > kMost || duration.seconds > 86'400LL * 366 * 10'000) return std::nullopt;
  const auto date = std::chrono::floor<days>(time);
  const auto clock = time - date;
  const year_month_day moved =
      year_month_day(date) + std::chrono::months(static_cast<int>(sign * duration.months));
  if (static_cast<int>(moved.year()) < 1 || static_cast<int>(moved.year()) > 9999) return std::nullopt;
  // The 31st of a shorter month is its last day.
  const year_month_day valid =
      moved.ok() ? moved : year_month_day(moved.year() / moved.month() / std::chrono::last);
  const TimePoint result = std::chrono::sys_days(valid) + clock + seconds(sign * duration.seconds);
  if (result < kFirst || result > kLast) return std::nullopt;
  return result;
}

Outcome utc_now(Call& call) {
  if (!call.evaluator.volatile_functions) {
    return call.refuse(
        "it is only expected in the default value of a parameter, as its answer is another one each time.");
  }
  std::string_view format = kDefaultFormat;
  if (call.count() == 1) {
    BOOTSEAL_ARM_TRY(format, call.text(0));
  }
  return shown(call, call.evaluator.surroundings().now, format);
}

Outcome date_time_add(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view base, call.text(0));
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(1));
  const std::optional<TimePoint> time = parse_moment(base);
  if (!time) return call.refuse(fmt::format("'{}' is no date and time, write 2020-04-07T14:53:14Z.", base));
  const std::optional<Duration> duration = parse_duration(text);
  if (!duration)
    return call.refuse(fmt::format("'{}' is no ISO 8601 duration, write -P1Y2M3DT4H5M6S.", text));
  const std::optional<TimePoint> result = add(*time, *duration);
  if (!result) return call.refuse("the result lies outside of the years 1 to 9999.");
  std::string_view format = kRoundTrip;
  if (call.count() == 3) {
    BOOTSEAL_ARM_TRY(format, call.text(2));
  }
  return shown(call, *result, format);
}

Outcome from_epoch(Call& call) {
  BOOTSEAL_ARM_TRY(const std::int64_t count, call.integer(0));
  constexpr std::int64_t kMost = 253'402'214'400;  // the last day of 9999
  if (count > kMost || count < -62'135'596'800)
    return call.refuse("the result lies outside of the years 1 to 9999.");
  return shown(call, TimePoint(seconds(count)), kRoundTrip);
}

Outcome to_epoch(Call& call) {
  BOOTSEAL_ARM_TRY(const std::string_view text, call.text(0));
  const std::optional<TimePoint> time = parse_moment(text);
  if (!time) return call.refuse(fmt::format("'{}' is no date and time, write 2020-04-07T14:53:14Z.", text));
  return json::Value(std::int64_t{std::chrono::floor<seconds>(*time).time_since_epoch().count()});
}

}  // namespace

void add_date_functions(FunctionTable& table) {
  table["utcnow"] = {0, 1, utc_now};
  table["datetimeadd"] = {2, 3, date_time_add};
  table["datetimefromepoch"] = {1, 1, from_epoch};
  table["datetimetoepoch"] = {1, 1, to_epoch};
}

}  // namespace bootseal::templates
