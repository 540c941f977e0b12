# A toolchain file: 64-bit ARM, linked statically, run by qemu. -DHASTEN_CROSS=FOLDER where the compiler lies in a folder of
# its own (in the place of /), -DHASTEN_QEMU=PROGRAM.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES HASTEN_CROSS HASTEN_QEMU)
find_program(HASTEN_CXX NAMES aarch64-linux-gnu-g++ aarch64-linux-gnu-g++-12 HINTS ${HASTEN_CROSS}/usr/bin)
set(CMAKE_CXX_COMPILER ${HASTEN_CXX})
set(CMAKE_CXX_FLAGS_INIT "-B${HASTEN_CROSS}/usr/aarch64-linux-gnu/bin")
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_CROSSCOMPILING_EMULATOR ${HASTEN_QEMU})
