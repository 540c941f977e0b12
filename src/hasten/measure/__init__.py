"""How fast, how accurate, how big: every figure that hasten prints comes from here."""
