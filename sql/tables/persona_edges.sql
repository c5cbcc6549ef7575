-- Similar pairs down to the floor below the threshold, so that the threshold can be cut anew.
create table if not exists persona_edges (
    lang varchar not null,
    ordinal bigint not null,
    method varchar not null,
    persona_a varchar not null,
    persona_b varchar not null,
    similarity double not null
);
