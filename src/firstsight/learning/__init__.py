"""`firstsight learn`: a recording teaches itself, and what it has learned is judged on frames that were held out."""
