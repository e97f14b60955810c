#include "app/completion.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <vector>

namespace sluice::app {

namespace {

struct Word {
    std::string text;
    std::string help;
    bool        takes_value{false};
};

// A verb with the words that may follow it.
struct Verb {
    std::string       path;  // "sluice config show"
    std::vector<Word> verbs, options;
    bool              takes_file{false};
};

void collect(CLI::App const& app, std::string const& path, std::vector<Verb>& all)
{
    Verb verb{.path = path, .verbs = {}, .options = {}, .takes_file = false};
    for (auto const* const option : app.get_options()) {
        for (auto const& name : option->get_lnames())
            verb.options.push_back({"--" + name, option->get_description(), option->get_items_expected_max() > 0});
        verb.takes_file |= option->get_positional();
    }
    auto const inner = app.get_subcommands([](CLI::App const*) { return true; });
    for (auto const* const sub : inner) verb.verbs.push_back({sub->get_name(), sub->get_description()});
    all.push_back(std::move(verb));
    for (auto const* const sub : inner) collect(*sub, path + ' ' + sub->get_name(), all);
}

// As one word of a shell.
std::string quoted(std::string const& text, std::string_view shell)
{
    std::string out = "'";
    for (char const c : text) {
        if (c == '\'')
            out += shell == "fish" ? "\\'" : "'\\''";
        else
            out += c;
    }
    return out + '\'';
}

std::string list(std::vector<Word> const& words, auto const& show)
{
    std::string out;
    for (auto const& word : words)
        if (auto const text = show(word); !text.empty()) out += (out.empty() ? "" : " ") + text;
    return out;
}

std::string name(Word const& word) { return word.text; }
std::string name_if_valued(Word const& word) { return word.takes_value ? word.text : ""; }
std::string name_and_help(Word const& word) { return quoted(word.text + ':' + word.help, "zsh"); }

// Every path but the outermost, as patterns of a case.
std::string inner_paths(std::vector<Verb> const& verbs, std::string_view separator)
{
    std::string out;
    for (std::size_t i = 1; i < verbs.size(); ++i)
        out += fmt::format("{}'{}'", out.empty() ? "" : separator, verbs[i].path);
    return out;
}

std::string bash(std::vector<Verb> const& all)
{
    std::string cases;
    for (auto const& verb : all)
        cases += fmt::format(
            "    '{}') verbs='{}' options='{}' valued='{}' files={} ;;\n", verb.path, list(verb.verbs, name),
            list(verb.options, name), list(verb.options, name_if_valued), verb.takes_file ? "yes" : "");
    return fmt::format(R"(_sluice() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
    local verb=sluice word verbs options valued files
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$verb $word" in
        {}) verb="$verb $word" ;;
        esac
    done
    case $verb in
{}    esac
    COMPREPLY=()
    # A value: the shell completes file names.
    if [[ $prev == = || " $valued " == *" $prev "* ]]; then return; fi
    if [[ $cur == -* || -z $verbs$files ]]; then verbs=$options; fi
    COMPREPLY=($(compgen -W "$verbs" -- "$cur"))
}}
complete -o default -F _sluice sluice
)",
                       inner_paths(all, "|"), cases);
}

std::string zsh(std::vector<Verb> const& all)
{
    std::string cases;
    for (auto const& verb : all)
        cases += fmt::format(
            "    '{}')\n        verbs=({})\n        options=({})\n        valued=({}) files={} ;;\n", verb.path,
            list(verb.verbs, name_and_help), list(verb.options, name_and_help), list(verb.options, name_if_valued),
            verb.takes_file ? "yes" : "");
    return fmt::format(R"(#compdef sluice
_sluice() {{
    local verb=sluice word files
    local -a verbs options valued
    for word in ${{words[2,CURRENT-1]}}; do
        case "$verb $word" in
        {}) verb="$verb $word" ;;
        esac
    done
    case $verb in
{}    esac
    if (( ${{valued[(Ie)${{words[CURRENT-1]}}]}} )); then
        _files
    elif [[ $PREFIX == -* || ( $#verbs -eq 0 && -z $files ) ]]; then
        _describe -o option options
    elif (( $#verbs )); then
        _describe verb verbs
    else
        _files
    fi
}}
if [[ ${{funcstack[1]}} == _sluice ]]; then _sluice "$@"; else compdef _sluice sluice; fi
)",
                       inner_paths(all, "|"), cases);
}

std::string fish(std::vector<Verb> const& all)
{
    std::string lines;
    for (auto const& verb : all) {
        auto const here = fmt::format("complete -c sluice -n 'test (__sluice_verb) = \"{}\"'", verb.path);
        if (!verb.takes_file) lines += here + " -f\n";
        for (auto const& word : verb.verbs)
            lines += fmt::format("{} -a {} -d {}\n", here, word.text, quoted(word.help, "fish"));
        for (auto const& option : verb.options)
            lines += fmt::format(
                "{} -l {}{} -d {}\n", here, option.text.substr(2), option.takes_value ? " -r -F" : "",
                quoted(option.help, "fish"));
    }
    return fmt::format(R"(function __sluice_verb
    set -l verb sluice
    for word in (commandline -opc)[2..-1]
        switch "$verb $word"
            case {}
                set verb "$verb $word"
        end
    end
    echo $verb
end
{})",
                       inner_paths(all, " "), lines);
}

}  // namespace

std::string completion(CLI::App const& cli, std::string_view shell)
{
    std::vector<Verb> all;
    collect(cli, cli.get_name(), all);
    if (shell == "bash") return bash(all);
    return shell == "zsh" ? zsh(all) : fish(all);
}

}  // namespace sluice::app
