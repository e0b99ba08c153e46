CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    place TEXT NOT NULL UNIQUE,     -- a folder's or a file's path, or a URL
    base_url TEXT,                  -- what the paths of its files are told as
    added INTEGER NOT NULL          -- Unix seconds
) STRICT;

CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    source_id INTEGER NOT NULL REFERENCES sources ON DELETE CASCADE,
    name TEXT NOT NULL,             -- path within the folder, or the URL
    url TEXT NOT NULL,              -- as results tell it
    title TEXT NOT NULL,
    date TEXT NOT NULL,             -- YYYY-MM-DD, or empty
    sha256 BLOB NOT NULL,           -- of its bytes
    UNIQUE (source_id, name)
) STRICT;

CREATE TABLE passages (
    id INTEGER PRIMARY KEY,
    document_id INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    heading TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX passages_of_documents ON passages (document_id);

CREATE TABLE vectors (
    passage_id INTEGER PRIMARY KEY REFERENCES passages ON DELETE CASCADE,
    model TEXT NOT NULL,
    code BLOB NOT NULL,             -- the signs
    vector BLOB NOT NULL            -- float32, of length 1
) STRICT;

CREATE VIRTUAL TABLE words USING fts5 (
    heading, text, content='passages', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER passage_in AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, heading, text) VALUES (new.id, new.heading, new.text);
END;
CREATE TRIGGER passage_out AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, heading, text) VALUES ('delete', old.id, old.heading, old.text);
END;
