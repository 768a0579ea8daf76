-- Wrong codes of the last minute, by token, network and program, so that every process counts in
-- one place. tries: JSON, [[second, how many], …]; stops: how often the limit was reached.
CREATE TABLE wrong_codes (
    kind ${KEY_TEXT} NOT NULL,
    subject ${KEY_TEXT} NOT NULL,
    tries TEXT NOT NULL,
    stops ${INTEGER} NOT NULL,
    stopped_at ${INTEGER},
    updated_at ${INTEGER} NOT NULL,
    PRIMARY KEY (kind, subject)
) ${HOT_TABLE_END};

-- A token keeps its id when its secret is replaced.
ALTER TABLE token ADD COLUMN rotated_at ${INTEGER};
