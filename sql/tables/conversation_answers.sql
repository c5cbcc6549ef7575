-- The model's answers behind the conversations of this partition, as the ledger holds them.
create table if not exists conversation_answers (
    lang varchar not null,
    ordinal bigint not null,
    stage varchar not null,
    origin varchar not null,
    answer_key varchar not null,
    text varchar not null,
    finish_reason varchar not null,
    model varchar not null,
    endpoint varchar not null,
    prompt_tokens bigint,
    cached_tokens bigint,
    completion_tokens bigint,
    latency_s double,
    attempts bigint not null,
    answered_at varchar not null
);
