"""How well what surrounds the model does: which messages it takes to the web, and how it reads what it is given."""
