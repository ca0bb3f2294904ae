import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # tiny_dino.py, which processes that tests start import as well
