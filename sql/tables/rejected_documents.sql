-- Documents that were read and not taken, with the rule that refused them.
create table if not exists rejected_documents (
    lang varchar not null,
    ordinal bigint not null,
    doc_id varchar not null,
    source varchar not null,
    source_id varchar,
    row bigint not null,
    url varchar,
    reason varchar not null,
    score double,
    threshold double,
    evidence varchar,
    excerpt varchar
);
