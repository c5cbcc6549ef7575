-- Personas that a filter refused: the rule, what it measured, and its threshold.
create table if not exists rejected_personas (
    lang varchar not null,
    ordinal bigint not null,
    persona_id varchar not null,
    stage varchar not null,
    reason varchar not null,
    score double,
    threshold double,
    evidence varchar
);
