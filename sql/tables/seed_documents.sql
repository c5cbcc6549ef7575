-- Documents taken as seeds; `selection` is JSON evidence, `source` and `row` say where the text was read.
create table if not exists seed_documents (
    lang varchar not null,
    ordinal bigint not null,
    doc_id varchar not null,
    text varchar not null,
    url varchar,
    source varchar not null,
    source_id varchar,
    row bigint not null,
    license varchar,
    kind varchar,
    dump varchar,
    date varchar,
    language_score double,
    minhash_cluster_size bigint,
    chars bigint not null,
    domain varchar,
    selection varchar not null
);
