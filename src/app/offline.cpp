// Verbs that read a data directory, beside a running server too: they see what was durable when they opened it.
#include "adapters/rocksdb/env_directory.hpp"
#include "adapters/rocksdb/rocksdb_log.hpp"
#include "app/commands.hpp"
#include "app/exit_codes.hpp"
#include "app/system_clock.hpp"
#include "base/hex.hpp"
#include "engine/fold.hpp"
#include "graph/resident_store.hpp"
#include "schema/syntax.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace sluice::app {
namespace {

namespace json = boost::json;

using LogPtr = std::unique_ptr<log::EventLog>;

Result<LogPtr> open_log(Config const& config)
{
    return adapters::open_rocksdb_log(
        {.directory = config.data, .reserve_bytes = config.log_reserve_bytes, .read_only = true});
}

int report(Config const& config, Error const& error)
{
    fmt::print(stderr, "sluice: {}: {} ({})\n", config.data, error.detail, error.reason);
    return exit_code(error);
}

json::object to_json(Error const& error) { return {{"ok", false}, {"error", error.reason}, {"detail", error.detail}}; }

struct Verified {
    json::object log, fold, checkpoint;
    int          exit{Exit::ok};
};

// Everything in the log is read and checked on the way; what the checkpoints hold must come to the same digest.
Verified verify_all(Config const& config)
{
    Verified   verified;
    auto const log = open_log(config);
    if (!log) {
        verified.log = to_json(log.error());
        verified.exit = exit_code(log.error());
        return verified;
    }
    SystemClock const       clock;
    schema::SchemaSet const schemas(all_processors());
    auto const              folded_into = [&](graph::ResidentStore& graph, engine::Checkpoint checkpoint) {
        return engine::fold(**log, schemas, graph, clock, worker_count(config), std::move(checkpoint));
    };

    graph::ResidentStore whole;
    auto const           folded = folded_into(whole, {});
    if (!folded) {
        verified.log = to_json(folded.error());
        verified.exit = exit_code(folded.error());
        return verified;
    }
    auto const digest = hex(whole.digest());
    verified.log = {{"ok", true}, {"events", folded->events}};
    verified.fold = {{"digest", digest}, {"applied", folded->applied}, {"stale", folded->stale},
                     {"dead_lettered", folded->dead_lettered}, {"parked", folded->parked}};

    graph::ResidentStore restored;
    auto const           directory = adapters::open_directory(adapters::checkpoint_path(config.data));
    auto                 checkpoint = engine::load_checkpoint(*directory, **log, schemas, restored);
    auto const           position = number(checkpoint.position.last);
    verified.checkpoint = {{"sequence", position}, {"refused", json::value_from(checkpoint.refused)}};
    bool is_true = checkpoint.refused.empty();
    if (position != 0) {
        auto const continued = folded_into(restored, std::move(checkpoint));
        is_true = is_true && continued && restored.digest() == whole.digest();
        verified.checkpoint["digest"] = hex(restored.digest());
    }
    verified.checkpoint["ok"] = is_true;
    if (!is_true) verified.exit = Exit::failure;
    return verified;
}

std::string text_of(json::value const* value)
{
    if (value == nullptr) return "-";
    return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

void print_part(char const* name, json::object const& part)
{
    if (part.empty()) return;
    auto const* const ok = part.if_contains("ok");
    fmt::print("{:<11} {}", name, ok == nullptr || ok->get_bool() ? "ok" : "NOT OK");
    for (auto const& [key, value] : part)
        if (key != "ok") fmt::print("  {} {}", std::string_view(key), text_of(&value));
    fmt::print("\n");
}

// As ingest accepts it. Ids that the server made are left out: the same events get them again.
void append_envelope(std::string& out, log::LoggedRecord const& record)
{
    out += R"({"event_type":)" + json::serialize(json::string(record.type()));
    out += R"(,"did":)" + json::serialize(json::string(record.did()));
    out += R"(,"priority":)" + std::to_string(index(record.tier()));
    if (!record.stored_id().empty()) out += R"(,"event_id":)" + json::serialize(json::string(record.stored_id()));
    if (record.header().rev != 0) out += R"(,"rev":")" + schema::format_tid(Revision{record.header().rev}) + '"';
    out += R"(,"payload":)";
    auto const at = out.size();
    out += record.payload();
    // Bare line ends stand between tokens only, and a line is an event.
    std::replace_if(out.begin() + static_cast<std::ptrdiff_t>(at), out.end(),
                    [](char c) { return c == '\n' || c == '\r'; }, ' ');
    out += '}';
}

}  // namespace

int verify(Config const& config, bool as_json)
{
    auto const verified = verify_all(config);
    if (as_json) {
        fmt::print("{}\n", json::serialize(json::object{
                               {"log", verified.log}, {"fold", verified.fold}, {"checkpoint", verified.checkpoint}}));
        return verified.exit;
    }
    print_part("log", verified.log);
    print_part("fold", verified.fold);
    print_part("checkpoint", verified.checkpoint);
    return verified.exit;
}

int log_info(Config const& config, bool as_json)
{
    auto const log = open_log(config);
    if (!log) return report(config, log.error());
    std::uint64_t blocks = 0, events = 0, bytes = 0;
    WallTime      first{}, last{};
    auto const    cursor = (*log)->blocks(Sequence{1});
    for (;;) {
        auto const block = cursor->next();
        if (!block) return report(config, block.error());
        if (!*block) break;
        if (blocks++ == 0) first = (*block)->received_at();
        last = (*block)->received_at();
        events += (*block)->size();
        bytes += (*block)->bytes().size();
    }
    auto const decisions = (*log)->decisions();
    if (!decisions) return report(config, decisions.error());
    json::object info{{"last_sequence", number((*log)->last())},
                      {"chain", fmt::format("{:016x}", (*log)->last_chain())},
                      {"events", events},
                      {"blocks", blocks},
                      {"bytes", bytes},
                      {"decisions", decisions->size()},
                      {"first_received_at", nullptr},
                      {"last_received_at", nullptr}};
    if (blocks != 0) {
        info["first_received_at"] = schema::format_datetime(first);
        info["last_received_at"] = schema::format_datetime(last);
    }
    if (as_json)
        fmt::print("{}\n", json::serialize(info));
    else
        for (auto const& [key, value] : info) fmt::print("{:<18} {}\n", std::string_view(key), text_of(&value));
    return Exit::ok;
}

int log_export(Config const& config, Selection const& selection)
{
    auto const log = open_log(config);
    if (!log) return report(config, log.error());
    auto const  cursor = (*log)->blocks(Sequence{std::max<std::uint64_t>(selection.from, 1)});
    std::string lines;
    for (;;) {
        auto const block = cursor->next();
        if (!block) return report(config, block.error());
        if (!*block || number((*block)->first()) > selection.to) return Exit::ok;
        lines.clear();
        for (std::size_t i = 0; i < (*block)->size(); ++i) {
            auto const record = (*block)->record(i);
            auto const sequence = number((*block)->sequence(i));
            if (sequence < selection.from || sequence > selection.to) continue;
            if (!selection.type.empty() && record.type() != selection.type) continue;
            if (!selection.did.empty() && record.did() != selection.did) continue;
            if (!selection.bare)
                lines += fmt::format(
                    R"({{"sequence":{},"received_at":"{}","event_id":"{}","event":)", sequence,
                    schema::format_datetime((*block)->received_at()), record.id((*block)->sequence(i)));
            append_envelope(lines, record);
            lines += selection.bare ? "\n" : "}\n";
        }
        if (std::fwrite(lines.data(), 1, lines.size(), stdout) != lines.size()) return Exit::failure;
    }
}

}  // namespace sluice::app
