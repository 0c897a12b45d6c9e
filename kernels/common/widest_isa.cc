// Run when the build is configured for this processor alone: prints the widest instruction set.
#include <cstdio>

#include "common/isa.cc"

int main() { std::puts(lamina::isa_name(lamina::active_isa()).data()); }
