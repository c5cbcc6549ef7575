-- What the stored edges of a language are: which personas and settings they belong to, and how complete they are.
create table if not exists dedup_evidence (
    lang varchar not null,
    ordinal bigint not null,
    method varchar not null,
    fingerprint varchar not null,
    personas bigint not null,
    threshold double not null,
    floor double not null,
    recall double not null,
    permutations bigint,
    bands bigint,
    band_rows bigint
);
