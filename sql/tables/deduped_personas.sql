-- Personas kept after near-duplicate removal.
create table if not exists deduped_personas (
    lang varchar not null,
    ordinal bigint not null,
    persona_id varchar not null,
    persona varchar not null,
    method varchar not null,
    relation varchar not null,
    relation_label varchar,
    detail varchar not null,
    hop integer not null,
    parent_persona_id varchar,
    root_persona_id varchar not null,
    doc_id varchar not null,
    answer_key varchar not null,
    prompt_version varchar not null,
    detected_lang varchar not null,
    language_score double not null
);
