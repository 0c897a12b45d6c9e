# Which instruction sets are built, widest last: LAMINA_ISAS, and LAMINA_FLAGS_NAME for each. The first
# is the one every processor of the family runs. What the compiler cannot compile is left out.

# Writes DIRECTORY/isa_list.h.
function(lamina_write_isa_list directory)
  list(TRANSFORM LAMINA_ISAS REPLACE "(.+)" "X(\\1)" OUTPUT_VARIABLE all)
  list(JOIN all " " all)
  file(CONFIGURE OUTPUT ${directory}/isa_list.h CONTENT "#define LAMINA_FOR_EACH_ISA(X) ${all}\n")
endfunction()

set(LAMINA_FLAGS_scalar -fno-tree-vectorize)
set(LAMINA_FLAGS_v2 -march=x86-64-v2)
set(LAMINA_FLAGS_v3 -march=x86-64-v3)
set(LAMINA_FLAGS_v4 -march=x86-64-v4 -mprefer-vector-width=512)
set(LAMINA_FLAGS_neon)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(wanted scalar v2 v3 v4)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(wanted scalar neon)
else()
  set(wanted scalar)
endif()
if(LAMINA_SANITIZE)
  # The code is one; checks see scalar accesses and vectors, not the masked ones of AVX-512.
  list(REMOVE_ITEM wanted v2 v4)
endif()

set(LAMINA_ISAS)
set(refused)
foreach(isa IN LISTS wanted)
  if(cxx_std_20 IN_LIST CMAKE_CXX_COMPILE_FEATURES AND NOT DEFINED LAMINA_COMPILES_${isa})
    set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
    try_compile(
      LAMINA_COMPILES_${isa} ${CMAKE_CURRENT_BINARY_DIR}/probe ${CMAKE_CURRENT_SOURCE_DIR}/common/probe.cc
      CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${CMAKE_CURRENT_SOURCE_DIR}"
      COMPILE_DEFINITIONS ${LAMINA_FLAGS_${isa}} -DLAMINA_ISA=${isa} -DLAMINA_ISA_${isa}
      CXX_STANDARD 20 CXX_EXTENSIONS ON)
    unset(CMAKE_TRY_COMPILE_TARGET_TYPE)
  endif()
  if(LAMINA_COMPILES_${isa})
    list(APPEND LAMINA_ISAS ${isa})
  else()
    list(APPEND refused ${isa})
  endif()
endforeach()

set(compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
list(JOIN refused ", " refused)
if(NOT LAMINA_ISAS)
  set(without_kernels "lamina: ${compiler} cannot compile the kernels (C++20 with GNU's vectors: GCC 11, Clang 16 or newer); installing without them, every layer runs on PyTorch's ops")
  if(SKBUILD_STATE STREQUAL "wheel")
    message(FATAL_ERROR "${without_kernels}") # as without a compiler
  endif()
  message(NOTICE "${without_kernels}")
elseif(refused)
  list(JOIN LAMINA_ISAS ", " built)
  message(NOTICE "lamina: ${compiler} cannot compile the kernels for ${refused}; installing with ${built}")
endif()

# Of those, what this processor runs.
list(LENGTH LAMINA_ISAS count)
if(LAMINA_INSTRUCTION_SETS STREQUAL "native" AND count GREATER 2 AND NOT CMAKE_CROSSCOMPILING)
  lamina_write_isa_list(${CMAKE_CURRENT_BINARY_DIR}/probe)
  try_run(
    runs compiles ${CMAKE_CURRENT_BINARY_DIR}/probe ${CMAKE_CURRENT_SOURCE_DIR}/common/widest_isa.cc
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${CMAKE_CURRENT_SOURCE_DIR};${CMAKE_CURRENT_BINARY_DIR}/probe"
    RUN_OUTPUT_VARIABLE widest)
  string(STRIP "${widest}" widest)
  if(widest IN_LIST LAMINA_ISAS)
    set(LAMINA_ISAS scalar ${widest})
    list(REMOVE_DUPLICATES LAMINA_ISAS)
  endif()
endif()
