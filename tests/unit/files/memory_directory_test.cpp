#include "contract/directory_contract.hpp"
#include "files/memory_directory.hpp"

namespace sluice::test {
namespace {

// Another object for the same files.
class Shared final : public files::Directory {
public:
    explicit Shared(files::MemoryDirectory& directory) : directory_(directory) {}
    Result<std::unique_ptr<files::Writer>> create(std::string const& name) override { return directory_.create(name); }
    Result<std::unique_ptr<files::Reader>> open(std::string const& name) const override
    {
        return directory_.open(name);
    }
    Result<std::vector<std::string>> list() const override { return directory_.list(); }
    Result<>                         remove(std::string const& name) override { return directory_.remove(name); }

private:
    files::MemoryDirectory& directory_;
};

TEST(MemoryDirectory, KeepsTheContract)
{
    files::MemoryDirectory directory;
    keeps_the_directory_contract([&] { return std::make_unique<Shared>(directory); });
}

}  // namespace
}  // namespace sluice::test
