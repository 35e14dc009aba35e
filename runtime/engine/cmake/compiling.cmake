# How the engine is compiled and linked. Kernels choose their instructions function by function, so
# these flags are the same for every file.

# With these among the flags, gcc links code that makes the process flush subnormal numbers to zero
# when the library is loaded.
foreach(kind C SHARED_LINKER MODULE_LINKER EXE_LINKER)
  foreach(of "" _DEBUG _RELEASE _RELWITHDEBINFO _MINSIZEREL)
    set(flags CMAKE_${kind}_FLAGS${of})
    string(REGEX REPLACE "-ffast-math|-funsafe-math-optimizations|-mdaz-ftz" "" ${flags} "${${flags}}")
    string(REPLACE "-Ofast" "-O3" ${flags} "${${flags}}")
  endforeach()
endforeach()

# The bits of a score allow neither contraction nor reassociation: the last word on both is here,
# after whatever CFLAGS says.
function(kg_compile target)
  set_target_properties(${target} PROPERTIES
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF
    C_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON)
  if(MSVC)
    target_compile_options(${target} PRIVATE /fp:precise /W4)
    return()
  endif()
  target_compile_options(${target} PRIVATE
    -fno-fast-math -fno-unsafe-math-optimizations -fno-associative-math -fno-reciprocal-math
    -fno-finite-math-only -fsigned-zeros -ffp-contract=off -ffunction-sections -fdata-sections)
  if(KG_DEVELOPER)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Werror)
  endif()
  if(KG_SANITIZE)
    set(flags -fsanitize=${KG_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
    target_compile_options(${target} PRIVATE ${flags})
    target_link_options(${target} PUBLIC -fsanitize=${KG_SANITIZE})
  endif()
endfunction()

# Every symbol is found when the library is loaded, none while it scores; an undefined one is an
# error here. (Sanitizers leave theirs to the program.)
function(kg_link target)
  if(APPLE)
    target_link_options(${target} PRIVATE -Wl,-dead_strip)
  elseif(NOT MSVC)
    target_link_options(${target} PRIVATE -Wl,--gc-sections -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
    if(NOT KG_SANITIZE)
      target_link_options(${target} PRIVATE -Wl,--no-undefined)
    endif()
  endif()
endfunction()
