from firstsight.cli import main

main()
