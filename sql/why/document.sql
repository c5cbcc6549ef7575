-- A seed document with the evidence of its selection.
select doc_id, source, row, source_id, url, license, kind, date, chars, language_score, minhash_cluster_size, selection, text
from seed_documents
where doc_id = $id;
