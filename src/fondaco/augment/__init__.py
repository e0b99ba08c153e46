"""What models are told beside what they know: search, pages of the web, and the text of documents."""
