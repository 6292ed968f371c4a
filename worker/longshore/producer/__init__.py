"""How tasks get into Redis: from what a caller gives to what is stored. No Redis commands here."""
