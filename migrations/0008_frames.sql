-- Videos beside images: as the probe of a report, and as uploads. The frame that was compared lies beside its video.

ALTER TABLE images
    DROP CONSTRAINT images_format_check,
    ADD CONSTRAINT images_format_check CHECK (format IN ('jpeg', 'png', 'webp', 'mp4', 'webm'));
