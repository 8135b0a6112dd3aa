# Flags, warnings, sanitizers, ccache, linker and precompiled headers: all that is about the compiler.

set(CAIRN_SANITIZE "" CACHE STRING "-fsanitize= list, empty for none")

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without this sloppiness ccache refuses everything that uses a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros
      ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-fpch-preprocess)
endif()
if(CAIRN_SANITIZE)
  # g++ 12 sees variants moved through instrumented code as uninitialised.
  add_compile_options(-fsanitize=${CAIRN_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
                      -Wno-error=maybe-uninitialized)
  add_link_options(-fsanitize=${CAIRN_SANITIZE})
endif()

add_library(cairn_warnings INTERFACE)
target_compile_options(cairn_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Wold-style-cast -Wcast-align -Woverloaded-virtual -Werror)

# One precompiled header of the standard library for all our code, one with GoogleTest for tests.
file(WRITE ${CMAKE_BINARY_DIR}/pch/empty.cpp "")
add_library(cairn_pch OBJECT ${CMAKE_BINARY_DIR}/pch/empty.cpp)
target_link_libraries(cairn_pch PRIVATE cairn_warnings)
target_precompile_headers(cairn_pch PRIVATE
  <algorithm> <array> <chrono> <coroutine> <cstdint> <cstring> <deque> <expected> <functional> <map>
  <memory> <optional> <set> <span> <sstream> <string> <string_view> <unordered_map> <utility>
  <variant> <vector>)
