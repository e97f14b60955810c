// The identifiers and times of AT Protocol, strictly: https://atproto.com/specs
#pragma once

#include <sluice/clock.hpp>
#include <sluice/event.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace sluice::schema {

bool is_did(std::string_view text) noexcept;
bool is_handle(std::string_view text) noexcept;
bool is_nsid(std::string_view text) noexcept;
bool is_record_key(std::string_view text) noexcept;
bool is_at_uri(std::string_view text) noexcept;
bool is_event_id(std::string_view text) noexcept;  // 1-256 of A-Za-z0-9._:-/@%#+=~

// The authority of a valid AT-URI.
std::string_view authority(std::string_view at_uri) noexcept;

std::optional<Revision> parse_tid(std::string_view text) noexcept;
std::string             format_tid(Revision rev);  // of a revision other than none

std::optional<WallTime> parse_datetime(std::string_view text) noexcept;
std::string             format_datetime(WallTime time);  // 2026-01-01T00:00:00.000000Z

}  // namespace sluice::schema
