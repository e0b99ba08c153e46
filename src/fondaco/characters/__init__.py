"""Characters: who a chat can be had with, ours and the operator's own, as the card formats have them."""
