-- Replies about a document, or about a persona from it, that gave no persona.
select answer_key, stage, reason, evidence, excerpt
from rejected_replies
where doc_id = $id
order by ordinal;
