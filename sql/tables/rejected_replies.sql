-- Requests whose reply gave no persona, or that ended without a reply.
create table if not exists rejected_replies (
    lang varchar not null,
    ordinal bigint not null,
    answer_key varchar not null,
    stage varchar not null,
    origin varchar not null,
    doc_id varchar not null,
    parent_persona_id varchar,
    reason varchar not null,
    evidence varchar,
    excerpt varchar,
    prompt_version varchar not null
);
