-- A document that was not taken.
select doc_id, source, row, source_id, url, reason, score, threshold, evidence, excerpt
from rejected_documents
where doc_id = $id;
