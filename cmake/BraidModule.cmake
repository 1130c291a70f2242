# SPDX-License-Identifier: Apache-2.0
# braid_module(NAME [TORCH] [LINK …]): one static library per folder of src/, from all its .cpp (and .cu) files. LINK
# names the folders and packages it may include; this is the table of docs/architecture.md, and a test compares it with
# the #include lines.
function(braid_module name)
  cmake_parse_arguments(arg "TORCH" "" "LINK" ${ARGN})
  set(target "braid_${name}")
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp")
  if(BRAID_CUDA)
    file(GLOB cuda_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cu")
    list(APPEND sources ${cuda_sources})
  endif()
  add_library(${target} STATIC ${sources})
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}/src")
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-unused-parameter>)
  target_link_libraries(${target} PUBLIC ${arg_LINK})
  if(arg_TORCH)
    braid_use_torch(${target})
  endif()
  braid_instruction_sets(${sources})
endfunction()

# LibTorch with the shared precompiled header: it costs 20 s and 0.5 GB once instead of 8 s per file.
function(braid_use_torch target)
  target_link_libraries(${target} PUBLIC braid::torch)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")  # compiled as libraries are, or the header does not fit
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
  if(TARGET braid_precompiled)
    target_precompile_headers(${target} REUSE_FROM braid_precompiled)
  endif()
endfunction()

# Files named *_avx2.cpp, *_avx512.cpp, *_avx512bf16.cpp, *_avx512vnni.cpp and *_amx.cpp get their instruction set; which one
# runs is chosen at run time.
function(braid_instruction_sets)
  foreach(source IN LISTS ARGN)
    if(source MATCHES "_avx2\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-O3")
    elseif(source MATCHES "_avx512\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mfma;-O3")
    elseif(source MATCHES "_(avx512bf16|amx)\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512bf16;-mfma;-O3")
    elseif(source MATCHES "_avx512vnni\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mfma;-O3")
    endif()
  endforeach()
endfunction()
