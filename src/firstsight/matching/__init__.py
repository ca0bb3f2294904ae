from firstsight.compiling import announce_compilation

announce_compilation()
