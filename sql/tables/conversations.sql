-- The mPersonas row, plus where it comes from.
create table if not exists conversations (
    lang varchar not null,
    ordinal bigint not null,
    id varchar not null,
    persona_id varchar not null,
    persona varchar not null,
    parent_persona_id varchar,
    prompt varchar not null,
    messages struct(role varchar, content varchar)[] not null,
    type varchar not null,
    theme varchar not null,
    source_text varchar not null,
    doc_id varchar not null,
    answer_key varchar not null,
    prompt_version varchar not null
);
