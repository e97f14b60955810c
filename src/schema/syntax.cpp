#include "schema/syntax.hpp"

#include "base/assert.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <limits>

namespace sluice::schema {
namespace {

constexpr std::size_t did_size_max = 2048;
constexpr std::size_t handle_size_max = 253;
constexpr std::size_t label_size_max = 63;
constexpr std::size_t nsid_size_max = 317;
constexpr std::size_t record_key_size_max = 512;
constexpr std::size_t at_uri_size_max = 8192;
constexpr std::size_t event_id_size_max = 256;
constexpr std::size_t datetime_size_max = 64;
constexpr std::size_t tid_size = 13;

constexpr std::string_view at_scheme = "at://";
constexpr std::string_view tid_digits = "234567abcdefghijklmnopqrstuvwxyz";

// Sets of ASCII characters, a bit each.
enum CharacterSet : unsigned {
    lower = 1,
    letter = 2,
    digit = 4,
    in_label = 8,
    in_did = 16,
    in_record_key = 32,
    in_event_id = 64,
};

constexpr auto character_sets = [] {
    std::array<std::uint8_t, 256> sets{};
    auto const                    add = [&](std::string_view characters, unsigned set) {
        for (char const c : characters) sets[static_cast<unsigned char>(c)] |= static_cast<std::uint8_t>(set);
    };
    constexpr auto everywhere = in_label | in_did | in_record_key | in_event_id;
    add("abcdefghijklmnopqrstuvwxyz", lower | letter | everywhere);
    add("ABCDEFGHIJKLMNOPQRSTUVWXYZ", letter | everywhere);
    add("0123456789", digit | everywhere);
    add("-", in_label);
    add("._:%-", in_did);
    add("_~.:-", in_record_key);
    add("._:-/@%#+=~", in_event_id);
    return sets;
}();

unsigned sets_of(char c) noexcept { return character_sets[static_cast<unsigned char>(c)]; }
bool     is_in(char c, CharacterSet set) noexcept { return (sets_of(c) & set) != 0; }

bool all_in(std::string_view text, CharacterSet set) noexcept
{
    unsigned common = set;
#pragma GCC unroll 8
    for (char const c : text) common &= sets_of(c);
    return common != 0;
}

// Dot-separated labels of letters, digits and inner hyphens, as in names of hosts.
struct Labels {
    std::size_t      count{0};  // 0: they are not
    std::string_view last;
};

Labels split_labels(std::string_view text) noexcept
{
    Labels labels;
    for (std::size_t begin = 0;; ++begin) {
        auto const from = begin;
        while (begin < text.size() && is_in(text[begin], in_label)) ++begin;
        labels.last = text.substr(from, begin - from);
        ++labels.count;
        if (labels.last.empty() || labels.last.size() > label_size_max || labels.last.front() == '-' ||
            labels.last.back() == '-')
            return {};
        if (begin == text.size()) return labels;
        if (text[begin] != '.') return {};
    }
}

// The text up to the next `separator`, taken off `rest`; `rest` becomes a null view when it was the last.
std::string_view take(std::string_view& rest, char separator) noexcept
{
    auto const end = rest.find(separator);
    auto const part = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    return part;
}

std::optional<int> parse_digits(std::string_view text) noexcept
{
    int value = 0;
    for (char const c : text) {
        if (!is_in(c, digit)) return std::nullopt;
        value = value * 10 + (c - '0');
    }
    return value;
}

// "Z" or "+07:00", as what must be subtracted to get UTC.
std::optional<std::chrono::minutes> parse_offset(std::string_view text) noexcept
{
    if (text == "Z") return std::chrono::minutes(0);
    if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':' || text == "-00:00")
        return std::nullopt;
    auto const hours = parse_digits(text.substr(1, 2));
    auto const minutes = parse_digits(text.substr(4, 2));
    if (!hours || !minutes || *hours > 23 || *minutes > 59) return std::nullopt;
    auto const offset = std::chrono::hours(*hours) + std::chrono::minutes(*minutes);
    return text[0] == '-' ? -offset : offset;
}

constexpr WallTime year_begin(int year)
{
    return std::chrono::sys_days(std::chrono::year(year) / std::chrono::January / 1);
}

}  // namespace

bool is_did(std::string_view text) noexcept
{
    constexpr std::string_view scheme = "did:";
    if (text.size() > did_size_max || !text.starts_with(scheme)) return false;
    auto method_end = scheme.size();
    while (method_end < text.size() && is_in(text[method_end], lower)) ++method_end;
    if (method_end == scheme.size() || method_end == text.size() || text[method_end] != ':') return false;
    auto const identifier = text.substr(method_end + 1);
    return !identifier.empty() && identifier.back() != ':' && identifier.back() != '%' && all_in(identifier, in_did);
}

bool is_handle(std::string_view text) noexcept
{
    if (text.size() > handle_size_max) return false;
    auto const labels = split_labels(text);
    return labels.count >= 2 && is_in(labels.last.front(), letter);
}

bool is_nsid(std::string_view text) noexcept
{
    if (text.size() > nsid_size_max) return false;
    auto const labels = split_labels(text);
    return labels.count >= 3 && is_in(text.front(), letter) && is_in(labels.last.front(), letter) &&
           labels.last.find('-') == std::string_view::npos;
}

bool is_record_key(std::string_view text) noexcept
{
    return !text.empty() && text.size() <= record_key_size_max && text != "." && text != ".." &&
           all_in(text, in_record_key);
}

bool is_at_uri(std::string_view text) noexcept
{
    if (text.size() > at_uri_size_max || !text.starts_with(at_scheme)) return false;
    auto       rest = text.substr(at_scheme.size());
    auto const repository = take(rest, '/');
    if (!is_did(repository) && !is_handle(repository)) return false;
    if (!rest.data()) return true;
    if (!is_nsid(take(rest, '/'))) return false;
    return !rest.data() || is_record_key(rest);
}

bool is_event_id(std::string_view text) noexcept
{
    return !text.empty() && text.size() <= event_id_size_max && all_in(text, in_event_id);
}

std::string_view authority(std::string_view at_uri) noexcept
{
    auto rest = at_uri.substr(at_scheme.size());
    return take(rest, '/');
}

std::optional<Revision> parse_tid(std::string_view text) noexcept
{
    constexpr auto values = [] {
        std::array<std::uint8_t, 256> table{};
        table.fill(0xFF);
        for (std::size_t i = 0; i < tid_digits.size(); ++i)
            table[static_cast<unsigned char>(tid_digits[i])] = static_cast<std::uint8_t>(i);
        return table;
    }();
    if (text.size() != tid_size || text.front() > 'j') return std::nullopt;
    std::uint64_t value = 0;
    for (char const c : text) {
        auto const part = values[static_cast<unsigned char>(c)];
        if (part == 0xFF) return std::nullopt;
        value = value << 5 | part;
    }
    // A revision is one more than its TID, so the very last TID has none.
    if (value == std::numeric_limits<std::uint64_t>::max()) return std::nullopt;
    return Revision{value + 1};
}

std::string format_tid(Revision rev)
{
    SLUICE_ASSERT(rev != Revision::none);
    auto        value = static_cast<std::uint64_t>(rev) - 1;
    std::string text(tid_size, tid_digits[0]);
    for (auto c = text.rbegin(); c != text.rend(); ++c, value >>= 5) *c = tid_digits[value & 31];
    return text;
}

// What RFC 3339, ISO 8601 and WHATWG all allow: 1985-04-12T23:20:50[.digits], Z or +hh:mm. Six digits count.
std::optional<WallTime> parse_datetime(std::string_view text) noexcept
{
    using namespace std::chrono;
    constexpr std::string_view shape = "dddd-dd-ddTdd:dd:dd";
    if (text.size() <= shape.size() || text.size() > datetime_size_max) return std::nullopt;
    for (std::size_t i = 0; i < shape.size(); ++i)
        if (shape[i] == 'd' ? !is_in(text[i], digit) : text[i] != shape[i]) return std::nullopt;

    auto const number_at = [&](std::size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
    auto const date = year(number_at(0) * 100 + number_at(2)) / month(static_cast<unsigned>(number_at(5))) /
                      day(static_cast<unsigned>(number_at(8)));
    int const hour = number_at(11), minute = number_at(14), second = number_at(17);
    if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;

    auto         rest = text.substr(shape.size());
    microseconds fraction{0};
    if (rest.front() == '.') {
        std::size_t digits = 0;
        int         value = 0;
        for (rest.remove_prefix(1); !rest.empty() && is_in(rest.front(), digit); rest.remove_prefix(1), ++digits)
            if (digits < 6) value = value * 10 + (rest.front() - '0');
        if (digits == 0) return std::nullopt;
        for (; digits < 6; ++digits) value *= 10;
        fraction = microseconds(value);
    }
    auto const offset = parse_offset(rest);
    if (!offset) return std::nullopt;

    auto const whole = sys_days(date) + hours(hour) + minutes(minute) + seconds(second) - *offset;
    // A leap second ends a UTC day; it is counted as the second after it.
    if (second == 60 && whole.time_since_epoch() % days(1) != seconds(0)) return std::nullopt;
    WallTime const time = whole + fraction;
    if (time < year_begin(0) || time >= year_begin(10'000)) return std::nullopt;
    return time;
}

std::string format_datetime(WallTime time)
{
    using namespace std::chrono;
    auto const           date = floor<days>(time);
    year_month_day const ymd(date);
    hh_mm_ss const       clock(time - date);
    auto const           count = [](auto duration) { return static_cast<int>(duration.count()); };
    char                 text[64];
    int const            size = std::snprintf(
                   text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ", static_cast<int>(ymd.year()),
                   static_cast<unsigned>(ymd.month()), static_cast<unsigned>(ymd.day()), count(clock.hours()),
                   count(clock.minutes()), count(clock.seconds()), count(clock.subseconds()));
    return std::string(text, static_cast<std::size_t>(size));
}

}  // namespace sluice::schema
