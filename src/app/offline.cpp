// Verbs that read a data directory, beside a running server too: they see what was durable when they opened it.
#include "adapters/rocksdb/env_directory.hpp"
#include "app/commands.hpp"
#include "app/exit_codes.hpp"
#include "app/open_log.hpp"
#include "app/system_clock.hpp"
#include "base/hex.hpp"
#include "engine/derived_dedupe.hpp"
#include "engine/fold.hpp"
#include "graph/resident_store.hpp"
#include "http/record_json.hpp"
#include "schema/syntax.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace sluice::app {
namespace {

namespace json = boost::json;

int report(Config const& config, Error const& error)
{
    fmt::print(stderr, "sluice: {}: {} ({})\n", config.data, error.detail, error.reason);
    return exit_code(error);
}

json::object to_json(Error const& error) { return {{"ok", false}, {"error", error.reason}, {"detail", error.detail}}; }

json::array to_json(std::vector<Error> const& errors)
{
    json::array list;
    for (auto const& error : errors) list.push_back({{"error", error.reason}, {"detail", error.detail}});
    return list;
}

// The files that were there when it was made: a running server adds some, and removes what it has replaced.
class Listed final : public files::Directory {
public:
    explicit Listed(std::string path)
        : directory_(adapters::open_directory(std::move(path))), names_(directory_->list())
    {
    }

    Result<std::unique_ptr<files::Reader>> open(std::string const& name) const override
    {
        return directory_->open(name);
    }
    Result<std::vector<std::string>>       list() const override { return names_; }
    Result<std::unique_ptr<files::Writer>> create(std::string const&) override { return read_only(); }
    Result<>                               remove(std::string const&) override { return read_only(); }

private:
    static Error read_only() { return {Errc::unavailable, "data_directory", "opened for reading"}; }

    std::unique_ptr<files::Directory> const directory_;
    Result<std::vector<std::string>> const  names_;
};

struct Verified {
    json::object log, fold, checkpoint, ids;
    int          exit{Exit::ok};
};

class Verification {
public:
    Verification(log::EventLog const& log, Listed const& checkpoints, Listed const& ids, std::size_t threads)
        : log_(log), checkpoints_(checkpoints), ids_(ids), threads_(threads)
    {
    }

    // Everything in the log is read and checked on the way; what the checkpoints hold must come to the same digest.
    Verified run() const
    {
        Verified verified{.log = {}, .fold = {}, .checkpoint = check_checkpoints(), .ids = check_ids()};
        graph::ResidentStore graph;
        auto const           folded = fold(graph, {});
        if (!folded) {  // then nothing is known about what derives from it
            auto const& error = folded.error();
            return {.log = to_json(error), .fold = {}, .checkpoint = {}, .ids = {}, .exit = exit_code(error)};
        }
        auto const& [numbers, digest] = *folded;
        verified.log = {{"ok", true}, {"events", numbers.events}};
        verified.fold = {{"digest", digest},
                         {"applied", numbers.applied},
                         {"stale", numbers.stale},
                         {"dead_lettered", numbers.dead_lettered},
                         {"parked", numbers.parked}};
        auto const* const continued = verified.checkpoint.if_contains("digest");
        if (continued != nullptr && *continued != json::string(digest)) verified.checkpoint["ok"] = false;
        for (auto const* const part : {&verified.checkpoint, &verified.ids})
            if (!part->at("ok").get_bool()) verified.exit = Exit::failure;
        return verified;
    }

private:
    struct Folded {
        engine::Folded numbers;
        std::string    digest;
    };

    Result<Folded> fold(graph::ResidentStore& graph, engine::Checkpoint checkpoint) const
    {
        auto folded = engine::fold(log_, schemas_, graph, clock_, threads_, std::move(checkpoint));
        if (!folded) return folded.error();
        return Folded{std::move(*folded), hex(graph.digest())};
    }

    json::object check_checkpoints() const
    {
        graph::ResidentStore graph;
        auto                 checkpoint = engine::load_checkpoint(checkpoints_, log_, schemas_, graph);
        auto const           is_bad = [](Error const& why) {
            return why.reason != "other_processors" && why.reason != "no_file";
        };
        json::object part{{"ok", std::ranges::none_of(checkpoint.refused, is_bad)},
                          {"sequence", number(checkpoint.position.last)},
                          {"refused", to_json(checkpoint.refused)}};
        if (checkpoint.position.last == Sequence::none) return part;
        auto const continued = fold(graph, std::move(checkpoint));
        if (!continued) return to_json(continued.error());
        part["digest"] = continued->digest;
        return part;
    }

    json::object check_ids() const
    {
        auto const checked = engine::check_ids(ids_, log_);
        if (!checked) return to_json(checked.error());
        return {{"ok", checked->refused.empty()},
                {"runs", checked->runs},
                {"ids", checked->ids},
                {"refused", to_json(checked->refused)}};
    }

    log::EventLog const&    log_;
    Listed const&           checkpoints_;
    Listed const&           ids_;
    std::size_t const       threads_;
    SystemClock const       clock_;
    schema::SchemaSet const schemas_{all_processors()};
};

Verified verify_all(Config const& config)
{
    // Before the log, so that nothing in them is ahead of it.
    Listed const checkpoints(adapters::checkpoint_path(config.data)), ids(config.data + "/ids");
    auto const   log = open_log(config);
    if (log) return Verification(**log, checkpoints, ids, worker_count(config)).run();
    auto const& error = log.error();
    return {.log = to_json(error), .fold = {}, .checkpoint = {}, .ids = {}, .exit = exit_code(error)};
}

std::string text_of(json::value const& value)
{
    if (value.is_null()) return "-";
    return value.is_string() ? std::string(value.get_string()) : json::serialize(value);
}

void print_part(char const* name, json::object const& part)
{
    if (part.empty()) return;
    auto const* const ok = part.if_contains("ok");
    fmt::print("{:<11} {}", name, ok == nullptr || ok->get_bool() ? "ok" : "NOT OK");
    for (auto const& [key, value] : part)
        if (key != "ok") fmt::print("  {} {}", std::string_view(key), text_of(value));
    fmt::print("\n");
}

}  // namespace

int verify(Config const& config, bool as_json)
{
    auto const verified = verify_all(config);
    if (as_json) {
        fmt::print("{}\n", json::serialize(json::object{
                               {"log", verified.log},
                               {"fold", verified.fold},
                               {"checkpoint", verified.checkpoint},
                               {"ids", verified.ids}}));
        return verified.exit;
    }
    print_part("log", verified.log);
    print_part("fold", verified.fold);
    print_part("checkpoint", verified.checkpoint);
    print_part("ids", verified.ids);
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
        for (auto const& [key, value] : info) fmt::print("{:<18} {}\n", std::string_view(key), text_of(value));
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
        if (!*block || number((*block)->first()) > selection.to) break;
        lines.clear();
        for (std::size_t i = 0; i < (*block)->size(); ++i) {
            auto const record = (*block)->record(i);
            auto const sequence = number((*block)->sequence(i));
            if (sequence < selection.from || sequence > selection.to) continue;
            if (!selection.type.empty() && record.type() != selection.type) continue;
            if (!selection.did.empty() && record.did() != selection.did) continue;
            if (selection.bare && !log::is_accepted(record.kind())) continue;  // no producer sent it
            if (!selection.bare)
                lines += fmt::format(
                    R"({{"sequence":{},"received_at":"{}","event_id":"{}","event":)", sequence,
                    schema::format_datetime((*block)->received_at()), record.id((*block)->sequence(i)));
            http::append_envelope(lines, record);
            lines += selection.bare ? "\n" : "}\n";
        }
        if (std::fwrite(lines.data(), 1, lines.size(), stdout) != lines.size()) break;
    }
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return Exit::ok;
    fmt::print(stderr, "sluice: cannot write: {}\n", std::generic_category().message(errno));
    return Exit::failure;
}

}  // namespace sluice::app
