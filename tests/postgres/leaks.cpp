// libpqxx 6.4 loses a result of libpq, about 2 KB, for each statement during which its connection breaks.
extern "C" char const* __lsan_default_suppressions();
extern "C" char const* __lsan_default_suppressions() { return "leak:pqxx::connection_base"; }
