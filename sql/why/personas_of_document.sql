-- Every persona that goes back to a document, with its end.
select persona_id, hop, fate, reason, score, threshold
from persona_fates
where doc_id = $id
order by hop, persona_id;
