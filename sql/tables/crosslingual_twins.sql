-- Kept personas of two languages that mean the same; tagged, never dropped. Each language lists its own side.
create table if not exists crosslingual_twins (
    lang varchar not null,
    ordinal bigint not null,
    persona_id varchar not null,
    twin_lang varchar not null,
    twin_id varchar not null,
    cosine double not null,
    threshold double not null,
    embedder varchar not null
);
