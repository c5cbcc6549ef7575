-- Personas dropped as near-duplicates, each with the persona kept in its place.
create table if not exists duplicate_personas (
    lang varchar not null,
    ordinal bigint not null,
    loser_id varchar not null,
    winner_id varchar not null,
    method varchar not null,
    similarity double not null,
    threshold double not null
);
