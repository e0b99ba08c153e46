"""How soon the gateway is there, and what it takes of memory and disk while nobody asks it anything."""
