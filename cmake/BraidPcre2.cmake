# SPDX-License-Identifier: Apache-2.0
# The target braid::pcre2: PCRE2 for texts of bytes, whose Debian package has no CMake files. And PkgConfig::UTF8PROC.
find_path(BRAID_PCRE2_INCLUDE pcre2.h HINTS "${PCRE2_ROOT}/include")
find_library(BRAID_PCRE2_LIBRARY pcre2-8 HINTS "${PCRE2_ROOT}/lib")
if(NOT BRAID_PCRE2_INCLUDE OR NOT BRAID_PCRE2_LIBRARY)
  message(FATAL_ERROR "PCRE2 was not found: run launch/setup, or pass -DPCRE2_ROOT=…")
endif()
add_library(braid_pcre2 INTERFACE)
add_library(braid::pcre2 ALIAS braid_pcre2)
target_include_directories(braid_pcre2 SYSTEM INTERFACE "${BRAID_PCRE2_INCLUDE}")
target_link_libraries(braid_pcre2 INTERFACE "${BRAID_PCRE2_LIBRARY}")

find_package(PkgConfig REQUIRED)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
