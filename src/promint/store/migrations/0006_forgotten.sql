-- What a bulk change did is kept for a time, and forgotten then.

-- Since when the batch cannot be taken back any more. `position` is the shard where its changes
-- are still being removed, empty once they are gone.
ALTER TABLE batch ADD COLUMN forgotten_at ${INTEGER};

CREATE INDEX batch_unforgotten ON batch (finished_at)
    WHERE kind IN ('attach', 'deactivate', 'delete', 'detach', 'expire')
        AND (forgotten_at IS NULL OR position <> '');
