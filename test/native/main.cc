// The native test runner. Cases live in test_<thing>.cc beside this file; a case that cannot run here says
// MESSAGE("skipped: reason") and returns.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
