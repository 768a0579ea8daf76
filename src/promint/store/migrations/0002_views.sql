-- For people and reporting tools: the same rows with moments instead of microseconds.

CREATE VIEW promo_code_times AS
SELECT shard_key / 4096 AS loyalty_id, code, ${TIME_OPEN}created_at${TIME_CLOSE} AS created,
    ${TIME_OPEN}expires_at${TIME_CLOSE} AS expire_date,
    ${TIME_OPEN}attached_at${TIME_CLOSE} AS attached,
    ${TIME_OPEN}activated_at${TIME_CLOSE} AS activated,
    attach_count, activation_count, database_id, profile_id, batch_id
FROM promo_code;

CREATE VIEW event_times AS
SELECT shard_key / 4096 AS loyalty_id, ${TIME_OPEN}at${TIME_CLOSE} AS happened, kind, code_key,
    token_id, request_id, database_id, profile_id, attach_count, activation_count, details
FROM event;

