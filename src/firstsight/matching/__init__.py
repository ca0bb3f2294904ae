from firstsight.kernels.compiling import announce_compilation

announce_compilation()
