// What operators do: dead letters and parked events taken up again, jobs, pauses, workers and limits.
#pragma once

#include "engine/engine.hpp"
#include "http/background.hpp"
#include "http/members.hpp"
#include "http/message.hpp"
#include "http/producer.hpp"

#include <chrono>
#include <functional>
#include <string>
#include <variant>

namespace sluice::http {

// Handlers are called on the io thread and do everything on the background thread, where they may wait for a commit.
class Operations {
public:
    struct Deps {  // outlive the background thread
        engine::Engine&                       engine;
        log::EventLog const&                  log;
        graph::GraphStore const&              graph;
        schema::SchemaSet const&              schemas;
        Clock const&                          clock;
        Background&                           background;
        std::vector<Producer> const&          producers;  // by whom
        std::function<void(engine::BlockRef)> submit;  // to the appender, which then knows of it
    };

    explicit Operations(Deps deps);

    void dead_letters(Request& request, Reply reply);
    void dead_letter_groups(Request& request, Reply reply);
    void dead_letter(Request& request, Reply reply);
    void redrive(Request& request, Reply reply);
    void drop(Request& request, Reply reply);
    void parked(Request& request, Reply reply);
    void release(Request& request, Reply reply);
    void drop_parked(Request& request, Reply reply);
    void jobs(Request& request, Reply reply);
    void stop_job(Request& request, Reply reply);
    void resume_job(Request& request, Reply reply);
    void controls(Request& request, Reply reply);
    void control(Request& request, Reply reply);

private:
    using Filter = engine::DeadLetters::Filter;

    // What became of a block.
    struct Committed {
        engine::RequestOutcome          outcome{};
        Sequence                        first{};  // record of it
        std::optional<engine::Block::Order> order{};  // the first
    };
    struct Record {
        std::shared_ptr<log::StoredBlock const> block;
        log::LoggedRecord                       record;
    };
    // How many of a job's events there are, and what else a dry run tells.
    struct Preview {
        std::uint64_t       matching{0};
        boost::json::object more{};
    };

    static constexpr std::chrono::seconds patience{10};

    void run(Request& request, Reply reply, Response (Operations::*work)(std::string const& body));

    // The background thread only.
    std::variant<Committed, Response> commit(engine::BlockRef block);
    std::variant<Sequence, Response>  append_control(std::string_view type, std::string const& payload);
    Result<Record>                    read(Sequence sequence) const;
    Response redrive_or_drop(std::string const& body, log::Verdict verdict);
    Response take_up(Sequence sequence, engine::Successors::Wish const& wish, log::Verdict from);
    Response not_open(Sequence sequence, log::Verdict wanted) const;
    Response start_job(Members& body, Document& document, engine::Job job, Preview preview);
    Response change_job(std::string const& body, std::string_view type);

    Response list(Filter const& filter, std::size_t limit, Sequence cursor, bool newest_first, bool with_payload) const;
    Response list_lines(Filter const& filter, std::size_t limit, Sequence cursor, bool newest_first) const;
    Response show(Sequence sequence);
    void     add_what_came_later(boost::json::object& item, log::LoggedRecord const& record, Event const& event) const;
    boost::json::array group_list(Filter const& filter) const;
    std::uint64_t      parked_matching(Filter const& filter) const;
    boost::json::object control_state() const;

    Response do_redrive(std::string const& body);
    Response do_drop(std::string const& body);
    Response do_release(std::string const& body);
    Response do_drop_parked(std::string const& body);
    Response do_stop_job(std::string const& body);
    Response do_resume_job(std::string const& body);
    Response do_control(std::string const& body);

    Deps const         deps_;
    engine::Successors successors_;  // the background thread's
    engine::Decider    decider_;     // likewise
    std::string        by_;          // likewise: whose request it works on
};

}  // namespace sluice::http
