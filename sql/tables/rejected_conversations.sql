-- Conversations that were asked for and refused by a rule, or that ended without a reply.
create table if not exists rejected_conversations (
    lang varchar not null,
    ordinal bigint not null,
    id varchar not null,
    persona_id varchar not null,
    answer_key varchar not null,
    type varchar not null,
    reason varchar not null,
    score double,
    threshold double,
    evidence varchar,
    excerpt varchar,
    prompt_version varchar not null
);
