-- No document id occurs twice, taken or rejected.
select doc_id, count(*) as times
from (
    select lang, doc_id from seed_documents
    union all
    select lang, doc_id from rejected_documents
)
where lang = $lang
group by doc_id
having count(*) > 1;
